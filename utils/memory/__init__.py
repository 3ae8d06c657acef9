"""The memory flow: remember, plan, recall, and the stores and models behind them."""
