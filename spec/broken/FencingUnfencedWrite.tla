------------------------ MODULE FencingUnfencedWrite ------------------------
(***************************************************************************)
(* The fence does not hold for entries: the later leader's record is       *)
(* committed, and the earlier leader, which has not heard of it, still     *)
(* gets an entry committed above it.  This is the split brain.  It shows   *)
(* as a state, in which both may write (FencingUnfencedWrite.cfg), and     *)
(* sooner as a step, the commitment of an entry that only the earlier      *)
(* leader can have written (FencingLateWrite.cfg).                         *)
(***************************************************************************)
EXTENDS Fencing

UnfencedMayWrite(x) == belief[x] \in {"leading", "left"} /\ committed[x]
=============================================================================
