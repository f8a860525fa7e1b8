"""Reading the configurations of the programs that imagesync succeeds. What they cannot say is said in remarks."""
