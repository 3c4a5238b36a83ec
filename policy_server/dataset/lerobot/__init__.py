"""LeRobot datasets, format v3: parquet and MP4, several episodes per file."""
