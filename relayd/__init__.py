"""relayd forwards mail sent to e-mail masks, from SES through SQS and back out with SES."""

__version__ = "0.1.0"
