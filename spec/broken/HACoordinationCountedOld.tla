---------------------- MODULE HACoordinationCountedOld ----------------------
(***************************************************************************)
(* A leader finds an entry of an earlier term committed as soon as a       *)
(* quorum has it, without an entry of its own term above it.  A node       *)
(* without it that has a later entry, which nobody else has, can still be  *)
(* elected.                                                                *)
(***************************************************************************)
EXTENDS MCHACoordination

CountedMayCommit(t, i) == i <= Len(leaderLog[t]) /\ IsQuorum({n \in Node : acked[t][n] >= i})

TwoTakeTurns ==
  \A t \in Term, n \in Node :
    \/ vote'[t][n] # n
    \/ vote[t][n] = n
    \/ /\ t = 1 \/ winners[t - 1] # {}
       /\ t <= 2 \/ n \in winners[t - 2]
  (* It takes four terms, and two nodes that win them by turns.  TLC looks *)
  (* for no others, to find it soon.                                       *)
=============================================================================
