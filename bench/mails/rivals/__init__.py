"""Programs that do relayd's job in other ways, for the benchmark to compare with; each says what it stands for."""
