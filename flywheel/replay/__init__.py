"""Many nights of a company that is made up: what its customers write, say, and would have liked.

    worlds        how requests and reactions change from night to night, and who attacks
    texts         texts of our own in four languages, or rows of a file (`sources`)
    traffic       what is asked in each night, by whom
    reactions     what customers and attackers say of the answers
    policies      flywheel as shipped, with one part off, and rules that others promote by
    truth         accuracy on a big hidden test set, the oracle, wrong promotions
    settings      all that decides a replay's numbers
    results       what one life came to, and a policy's figures over its lives
    targets       what a replay is held to
    page          the pictures
    mlflow_run    the figures in MLflow

Nothing here runs a night: `flows.replay` does, by the flow of every night.
"""
