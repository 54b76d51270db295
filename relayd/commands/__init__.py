"""The commands of `relayd`, thin: options in, a call, a table or JSON out. Each is loaded only when it is used."""
