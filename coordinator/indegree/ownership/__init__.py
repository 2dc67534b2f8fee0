"""Who owns which partition, and who leads: etcd's word, which is advice; the event log has the last word.

Read in this order:

* ``membership.py``  what stands in etcd, as values: members, assignment, owners, quarantine
* ``assign.py``      which member should own which partition (pure)
* ``reconcile.py``   from what etcd says and what we hold to the next steps (pure)
* ``lease.py``       how long a lease is proven, by our own clock (pure)
* ``fencing.py``     how a take-over reads its announcement back from the log (pure)
* ``operations.py``  the calls to etcd and their values, ``errors.py`` what can go wrong, ``etcd.py`` the connection
* ``grant.py``       the token of one partition's stay with us, ``stays.py`` the stays, from taken to given back
* ``rounds.py``      one round: read, decide, carry out
* ``session.py``     the service that lives on one lease, and what the engine talks to

Nothing here knows Kafka or the engine's state. Nothing that must survive lives in etcd alone: an emptied etcd costs
seconds, never an event.
"""
