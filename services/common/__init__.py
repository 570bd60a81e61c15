"""What two services already share. Knows no service, no contract and no word of the domain."""
