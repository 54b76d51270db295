"""What can be wrong before it hurts: facts are gathered first, all at once, then judged by small pure functions.

`table` lists the checks, `gathering` asks for the facts, `diagnosis` brings the two together. One room for each area of
knowledge. Nothing here changes anything.
"""
