"""The commands of `relayd`, thin: options in, a call, a table or JSON out. `relayd.cli` loads each only when it is used."""
