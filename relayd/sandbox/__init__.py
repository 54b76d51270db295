"""relayd against an emulated AWS on this machine, with an SMTP door to send mail into."""
