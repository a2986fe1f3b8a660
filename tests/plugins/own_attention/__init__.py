"""A package of somebody else, with a score and priors for Forecaster. Importing it is noticed."""
