-------------------------- MODULE SimulatedImages --------------------------
(***************************************************************************)
(* Right behaviours in which images are made and taken over, for traces.py *)
(* to export.  They are steered as those of SimulatedGroup; changes of the *)
(* group are rare.                                                         *)
(***************************************************************************)
EXTENDS SimulatedGroup, Snapshot

SteeredImages ==
  /\ UNCHANGED vars => IF image' = image THEN Rarely(12) ELSE Rarely(3)
  /\ (\E n \in Node : term'[n] # term[n] /\ vote'[term'[n]][n] = n)
       => Rarely(IF Leaderless THEN 3 ELSE 25)
  /\ (\E t \in Term : leaderLog'[t] # leaderLog[t] /\ leaderLog[t] # <<>>) => Rarely(4)

WithImages ==
  /\ Cardinality({n \in Node : Len(image[n]) > 2}) > 1
  /\ \E t \in Term : commit[t] > 1 /\ \E u \in Term : u > t /\ commit[u] > commit[t]
  (* Somebody has taken over an image of more than an epoch record, and    *)
  (* leaders of two terms have committed.                                  *)

UnfinishedImages == TLCGet("level") < Length \/ ~WithImages
=============================================================================
