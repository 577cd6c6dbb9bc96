-------------------------- MODULE MembershipOverride ------------------------
(***************************************************************************)
(* StarRocks' electable group size override.  A follower that is added is  *)
(* a voter at once, but a leader does not count on it while it is          *)
(* unstable: it remembers whom it has added and not yet heard of, here all *)
(* that it has added, takes the size of the group to be smaller by as many *)
(* when it counts who has stored an entry, and wants more than half of the *)
(* rest.  Nobody else knows of that, and votes are counted as ever.  With  *)
(* one old follower and two new ones the leader commits alone, and the     *)
(* other two elect a leader without it (MembershipOverride.cfg).  Then two *)
(* leaders commit (MembershipOverrideSplit.cfg).  See docs/override.md.    *)
(***************************************************************************)
EXTENDS MCMembership

AddFollower(n, m) == Leads(n) /\ Add(n, m, "voter")

Unstable(t) ==
  LET before == {i \in 1..Len(leaderLog[t]) : leaderLog[t][i].term < t}
  IN  Voters(Config(leaderLog[t])) \ Voters(ConfigAt(leaderLog[t], Cardinality(before)))

MayCommitOverridden(t, k) ==
  LET stable == Voters(Config(leaderLog[t])) \ Unstable(t)
  IN  /\ leaderLog[t][k].term = t
      /\ 2 * Cardinality({n \in stable : acked[t][n] >= k}) > Cardinality(stable)
=============================================================================
