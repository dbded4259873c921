"""The option table, and settings that know where their value came from."""
