"""Tests of threads, time and health."""
