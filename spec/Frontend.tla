------------------------------ MODULE Frontend ------------------------------
(***************************************************************************)
(* One frontend: what it is to the cluster, and when it may become         *)
(* something else.                                                         *)
(*                                                                         *)
(* This is the third of the three views.  There is one instance of it for  *)
(* every node, over all its incarnations.  A frontend has a type, which is *)
(* what the rest of the system sees of it, and a role in the replication   *)
(* group.  The two are not the same: the role follows elections at once,   *)
(* the type only when it is safe.  Between winning an election and serving *)
(* as LEADER lies the commitment of the node's own epoch record; and a     *)
(* LEADER that has lost its role does not turn into something else, it     *)
(* ends, since nobody can say what of its unfinished work has taken        *)
(* effect.  What starts again starts as INIT.                              *)
(*                                                                         *)
(* Left out, on purpose: the other nodes, terms, votes, the log, and why   *)
(* an election was won or lost.  That fenced is TRUE only when the record  *)
(* is really committed is a matter of Fencing and of evidence; here it     *)
(* only matters that LEADER comes after it.                                *)
(***************************************************************************)

Type == {"DOWN", "INIT", "UNKNOWN", "FOLLOWER", "OBSERVER", "LEADER"}
  (* What a frontend is:                                                   *)
  (*   DOWN      not running;                                              *)
  (*   INIT      running, and nothing yet;                                 *)
  (*   UNKNOWN   out of touch with the group;                              *)
  (*   FOLLOWER  follows the leader, and may be elected;                   *)
  (*   OBSERVER  follows the leader, and has no vote;                      *)
  (*   LEADER    the one that writes.                                      *)

Role == {"follower", "leader"}
  (* The role in the replication group; a candidate counts as a follower.  *)

VARIABLES
  type,     \* the type of this frontend
  role,     \* its role in the replication group
  fenced    \* it knows the epoch record of its present leadership committed

vars == <<type, role, fenced>>

TypeOK == /\ type \in Type
          /\ role \in Role
          /\ fenced \in BOOLEAN

-----------------------------------------------------------------------------
(* The guards.  spec/broken/ overrides them one at a time.                 *)

Table == [ DOWN     |-> {},
           INIT     |-> {"FOLLOWER", "OBSERVER"},
           UNKNOWN  |-> {"FOLLOWER", "OBSERVER"},
           FOLLOWER |-> {"UNKNOWN"},
           OBSERVER |-> {"UNKNOWN"},
           LEADER   |-> {} ]
  (* The types that a frontend which does not lead may change to, by its   *)
  (* type.  INIT stays INIT until the group is found, so it is never       *)
  (* UNKNOWN first; nothing leads out of LEADER.                           *)

Electable == {"INIT", "UNKNOWN", "FOLLOWER"}
  (* The types in which a node may stand for election and become LEADER.   *)

MayActivate == fenced
  (* The node's own epoch record must be committed.                        *)

FencedAfterLoss == FALSE
  (* What is left of a fence when its leadership is over: nothing, as the  *)
  (* next leadership needs an epoch record of its own.                     *)

-----------------------------------------------------------------------------
(* The actions.                                                            *)

Reset == /\ role' = "follower"
         /\ fenced' = FALSE
  (* What the end of a process leaves of its role.                         *)

Init == /\ type = "DOWN"
        /\ role = "follower"
        /\ fenced = FALSE
  (* At first the node has not been started.                               *)

Start == /\ type = "DOWN"
         /\ type' = "INIT"
         /\ UNCHANGED <<role, fenced>>
  (* The process starts.                                                   *)

Transfer(t) == /\ role = "follower"
               /\ t \in Table[type]
               /\ type' = t
               /\ UNCHANGED <<role, fenced>>
  (* The frontend, not leading, changes its type to t.                     *)

Campaign == /\ type \in Electable
            /\ role = "follower"
            /\ UNCHANGED vars
  (* The node stands for election.  Nothing changes here by that, but an   *)
  (* OBSERVER, or a LEADER that has lost its role, has no such step.       *)

Win == /\ type \in Electable
       /\ role = "follower"
       /\ role' = "leader"
       /\ UNCHANGED <<type, fenced>>
  (* The node has won an election.  Its type stays what it was.            *)

CommitEpoch == /\ role = "leader"
               /\ type # "LEADER"
               /\ ~fenced
               /\ fenced' = TRUE
               /\ UNCHANGED <<type, role>>
  (* The node learns that its own epoch record is committed.               *)

Activate == /\ role = "leader"
            /\ type \in Electable
            /\ MayActivate
            /\ type' = "LEADER"
            /\ UNCHANGED <<role, fenced>>
  (* The frontend becomes LEADER.                                          *)

Ack == /\ type = "LEADER"
       /\ role = "leader"
       /\ fenced
       /\ UNCHANGED vars
  (* A client is told that its write is committed.  Only a LEADER does so. *)

Lose == /\ role = "leader"
        /\ role' = "follower"
        /\ fenced' = FencedAfterLoss
        /\ UNCHANGED type
  (* The node no longer leads the replication group.  A frontend that was  *)
  (* not LEADER yet goes on as what it is; a LEADER can only end now.      *)

Exit == /\ type # "DOWN"
        /\ type' = "DOWN"
        /\ Reset
  (* The process ends by its own decision.                                 *)

Crash == /\ type # "DOWN"
         /\ type' = "DOWN"
         /\ Reset
  (* The process ends in any other way.                                    *)

Next == \/ Start
        \/ \E t \in {"UNKNOWN", "FOLLOWER", "OBSERVER"} : Transfer(t)
        \/ Campaign
        \/ Win
        \/ CommitEpoch
        \/ Activate
        \/ Ack
        \/ Lose
        \/ Exit
        \/ Crash

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What holds in every state.                                              *)

LeaderIsFenced == type = "LEADER" /\ role = "leader" => fenced
  (* A LEADER in office has its epoch record committed.                    *)

FenceIsOwn == fenced => role = "leader"
  (* There is no fence without a leadership; so none is ever inherited.    *)

ObserverNeverLeads == type = "OBSERVER" => role = "follower"
  (* A node without a vote does not lead.                                  *)

DownIsBlank == type = "DOWN" => role = "follower" /\ ~fenced
  (* A process that has ended leads nothing.                               *)

Inv == TypeOK /\ LeaderIsFenced /\ FenceIsOwn /\ ObserverNeverLeads /\ DownIsBlank
  (* The conjunction.                                                      *)

THEOREM Spec => []Inv

(* What holds of every step.  None of these mentions a guard, so that they *)
(* notice when one is missing.                                             *)

LeaderOnlyFenced == [][type # "LEADER" /\ type' = "LEADER" => role = "leader" /\ fenced]_vars
  (* Becoming LEADER takes the role and the fence, both held before.       *)

LeaderOnlyEnds == [][type = "LEADER" => type' \in {"LEADER", "DOWN"}]_vars
  (* LEADER is left only by the end of the process.                        *)

LossIsFinal == [][type = "LEADER" /\ role = "follower" => type' = "DOWN"]_vars
  (* A LEADER that has lost its role does nothing any more but end.        *)

OfficeBeginsUnfenced == [][role = "follower" /\ role' = "leader" => ~fenced']_vars
  (* Each leadership has to commit an epoch record of its own.             *)

TypeKeptInOffice == [][role = "leader" /\ type' # type => type' \in {"LEADER", "DOWN"}]_vars
  (* While the node has the role, the type changes only to use it or end.  *)

NeverUnknownFirst == [][type = "INIT" => type' # "UNKNOWN"]_vars
  (* A frontend that has not found its group yet is INIT, not UNKNOWN.     *)

THEOREM Spec => /\ LeaderOnlyFenced
                /\ LeaderOnlyEnds
                /\ LossIsFinal
                /\ OfficeBeginsUnfenced
                /\ TypeKeptInOffice
                /\ NeverUnknownFirst
=============================================================================
