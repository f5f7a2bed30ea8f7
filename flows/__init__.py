"""When stages run and what happens when one fails: Prefect flows, stages and the command line."""
