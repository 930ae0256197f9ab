"""The ports' real sides: Akoya, DynamoDB, KMS, S3 and Secrets Manager."""
