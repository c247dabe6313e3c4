"""How much any one customer may move: who speaks, caps on rows, quorums."""
