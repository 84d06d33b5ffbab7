"""The routes of the local backend, one module for each of KFP's services."""
