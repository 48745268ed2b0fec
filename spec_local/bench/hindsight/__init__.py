"""What the recorded answers could have cost: replays and bounds."""
