"""relayd against the real AWS, in an account of your own: three mails to SES's simulator, and all is removed again."""
