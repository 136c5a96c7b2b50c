"""What a machine or cluster can attain, and what the pipeline attains of it."""
