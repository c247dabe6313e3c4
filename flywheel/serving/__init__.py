"""The prediction service: answers out, feedback in, and nothing that was accepted is lost.

    request ─▶ guards ─▶ keys ─▶ service ─▶ routes ─▶ batching ─▶ engine
                                    │          (`versions`: the champion; `adapters`: segments)
                                    ├─▶ commits ─▶ segments ─▶ inbox ─▶ (ingest, another process)
                                    └─▶ tracing ─▶ MLflow, where it is asked for

It never opens the warehouse: what it has to say is appended to segment files in the inbox.
"""
