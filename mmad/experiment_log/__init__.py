"""The documented experiment log as data: what its entries print, and how counts compare with theirs."""
