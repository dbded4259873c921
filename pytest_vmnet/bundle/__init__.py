"""The raw evidence of a run in a folder: written by the run, read by a replay; JSON and bytes."""
