"""The plugin's code. Folders are subjects: config, runtime, memory, state; imports point from the tools inward."""
