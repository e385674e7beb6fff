"""Works off runs: device slots, one worker process per run, the scheduler that watches them, and its view."""
