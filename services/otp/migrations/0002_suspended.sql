-- Factors and backup codes of a stolen phone. All of an account's are suspended together: none proves its owner any
-- more, each still counts as one its owner has, until what a bypass lets them set up replaces all of them.
ALTER TABLE account ADD COLUMN suspended_at timestamptz;
