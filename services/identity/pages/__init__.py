"""The pages: the same operations as the API, told in HTML for people. No script is needed; each form has a token."""
