"""The incident that relayd was built after, replayed: an endpoint that SNS pushes to, and relayd, before a slow S3."""
