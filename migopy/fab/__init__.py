"""The command line of Fabric 1.x: its door, how a task finds its subtask, and how a command is written."""
