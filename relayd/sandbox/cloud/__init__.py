"""The embedded AWS: exactly what relayd talks to, as strict as the real one, fast, and faulty on request.

It runs in a process of its own and shares no code with the daemon, so that one wrong idea cannot hide in both. Of the
rest of relayd only `client`, which runs in the process that started it, knows anything.
"""
