"""Who owns which partition, and who leads: etcd's word, which is advice; the event log has the last word.

Read in this order:

* ``membership.py``  what stands in etcd, as values: members, assignment, owners, quarantine
* ``assign.py``      which member should own which partition (pure)
* ``reconcile.py``   from what etcd says and what we hold to the next steps (pure)
* ``lease.py``       how long a lease is proven, by our own clock (pure)
* ``fencing.py``     how a take-over reads its announcement back from the log (pure)
* ``etcd.py``        the narrow connection to etcd, ``errors.py`` what can go wrong on it
* ``grant.py``       one partition's stay with us, from assigned to given back
* ``session.py``     the service that lives on one lease and carries the steps out

Nothing here knows Kafka or the engine's state. Nothing that must survive lives in etcd alone: an emptied etcd costs
seconds, never an event.
"""
