"""`external.metrics.k8s.io` for our own models: what autoscalers ask for, with nothing else installed.

    load           the pods' counters, read within limits
    documents      what is asked, and what is answered, as the API writes it
    server         HTTPS for the API server's front proxy, and nobody else
    front_proxy    who that is
    certificate    what we show it
    keeping        all of it over time
    registration   where the API server finds us, and that it finds nobody else's place taken

The leader serves, nobody else: it alone writes where it is to be found.  After a failover there is no answer for some
seconds; autoscalers then leave the number of pods as it is.  Several that serve would need one certificate, and so a
right on Secrets, or a trust in each other that changes with every start.
"""
