"""What does a step cost, in time and in bytes moved?"""
