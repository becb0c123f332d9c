"""The endpoints of Azure that the app calls, for the unmodified SDK. Not what runs behind them."""
