"""What Azure Resource Manager answers, by provider. No other host of Azure."""
