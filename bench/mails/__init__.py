"""Mails through relayd and through its rivals, side by side: `python -m bench.mails`."""
