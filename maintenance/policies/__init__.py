"""What keeps maintenance from starting now: windows, blackouts, pauses, limits, gates. Pure."""
