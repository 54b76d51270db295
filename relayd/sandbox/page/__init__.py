"""The sandbox's page: what came in, what became of it, and a switch that makes S3 or SES slow."""
