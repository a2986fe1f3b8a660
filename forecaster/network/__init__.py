"""The network: an LSTM with temporal attention, its inputs and its quantile heads."""
