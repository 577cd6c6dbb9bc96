------------------------------- MODULE Images -------------------------------
(***************************************************************************)
(* Images, on top of what the trace checker accepts (Accepted).            *)
(*                                                                         *)
(* Snapshot.tla says when a node may make an image of its log, and take    *)
(* over that of its leader.  This module is about the evidence for it.     *)
(* Whoever has an image takes what is in it for committed.  It may give    *)
(* up the entries, tell clients of them, and pass the image on.  So there  *)
(* are two questions: whether whoever makes an image knew all of it        *)
(* committed, and whether whoever takes one over has it from somebody who  *)
(* did.                                                                    *)
(*                                                                         *)
(* As in Accepted an action is a line of a trace, and nothing stops a line *)
(* but the guards of docs/trace-format.md: those of Accepted and the ones  *)
(* below.  An image is modelled as the log it stands for: the digest says  *)
(* which.  The image that a Start shows is a step of its own here, Recall, *)
(* after that Start; what comes between is one possibility more.  A node   *)
(* keeps all of its log, so that the two can be compared.                  *)
(*                                                                         *)
(* It would be as safe to take over what anybody has shown an image of.    *)
(* That it be the leader's, and shown in the incarnation that leads, is    *)
(* asked because nobody else sends images; the incarnation is left out     *)
(* here.                                                                   *)
(*                                                                         *)
(* One thing that the checker asks is left out of Accepted: that a Store,  *)
(* or a Start, has nothing else where its node knew an entry committed     *)
(* (CommitAgrees).  Who hears of a Commit of term 3 and then stores the    *)
(* log of term 2's leader can give up what it has an image of.  That takes *)
(* three leaders and five nodes, which no model here has.                  *)
(***************************************************************************)
EXTENDS Accepted

VARIABLES
  image,    \* image[n] is what n has an image of
  shown     \* who has shown which image, in an Image, an Install or a Start

images == <<image, shown>>

Larger(a, b) == IF a < b THEN b ELSE a

Known(n) == Upto(log[n], IF commit[n] < Len(log[n]) THEN commit[n] ELSE Len(log[n]))
  (* What n knows committed.  Only where a guard is missing it can have    *)
  (* lost some of it.                                                      *)

-----------------------------------------------------------------------------
(* The guards.  n is the node of the event, t its term, l the log that an  *)
(* image stands for.                                                       *)

ImageCommitted(n, l, known) == IsPrefix(l, known) /\ Len(image[n]) <= Len(l)
  (* What is known to be committed begins with l: known to n, for who      *)
  (* makes an image; to anybody, for who starts with one.  And n's image   *)
  (* does not shrink.                                                      *)

InstallCited(n, t, l) ==
  \E w \in winners[t] \ {n} : <<w, l>> \in shown /\ IsPrefix(l, written[t][w])
  (* The leader of t, who is not n, has shown that very image, and it is   *)
  (* one of its log.                                                       *)

-----------------------------------------------------------------------------
(* The events.                                                             *)

Image(n) ==
  \E l \in AnyLog :
    /\ Runs(n)
    /\ l # <<>>
    /\ ImageCommitted(n, l, Known(n))
    /\ SameDigest(l)
    /\ image' = [image EXCEPT ![n] = l]
    /\ shown' = shown \cup {<<n, l>>}
    /\ synced' = [synced EXCEPT ![n] = IF IsPrefix(l, log[n]) THEN Larger(@, Len(l)) ELSE @]
    /\ UNCHANGED <<frontend, term, log, ballots, leaders, stored, commits, clients>>
  (* n has an image of l, durably, and so l.                               *)

Takes(n, l) ==
  /\ SameDigest(l)
  /\ image' = [image EXCEPT ![n] = l]
  /\ shown' = shown \cup {<<n, l>>}
  /\ commit' = [commit EXCEPT ![n] = Larger(@, Len(l))]
  /\ UNCHANGED <<frontend, ballots, leaders, stored, committed, counted, named, clients>>
  (* n knows what its image l covers committed.                            *)

Install(n) ==
  \E t \in Term, l \in AnyLog :
    /\ Runs(n)
    /\ TermMonotonic(n, t)
    /\ l # <<>>
    /\ InstallCited(n, t, l)
    /\ ImageCommitted(n, l, l)
    /\ term' = [term EXCEPT ![n] = t]
    /\ log' = [log EXCEPT ![n] = IF IsPrefix(l, @) THEN @ ELSE l]
    /\ synced' = [synced EXCEPT ![n] = IF IsPrefix(l, log[n]) THEN Larger(@, Len(l)) ELSE Len(l)]
    /\ Takes(n, l)
  (* n has taken l over, in place of a log that has less or contradicts    *)
  (* it.                                                                   *)

Recall(n) ==
  \E l \in AnyLog :
    /\ Runs(n)
    /\ l # <<>>
    /\ IsPrefix(l, Durable(n))
    /\ \E c \in committed : ImageCommitted(n, l, c)
    /\ Takes(n, l)
    /\ UNCHANGED disk
  (* n has started with the image l on its disk.  No event may have told   *)
  (* of it: who made it had, before the crash, or the leader that sent it. *)

ImagesInit == Init /\ image = [n \in Node |-> <<>>] /\ shown = {}

ImagesNext == \/ Next /\ UNCHANGED images
              \/ \E n \in Node : Image(n)
              \/ \E n \in Node : Install(n)
              \/ \E n \in Node : Recall(n)

ImagesSpec == ImagesInit /\ [][ImagesNext]_<<vars, images>>

-----------------------------------------------------------------------------
(* What holds in every state.                                              *)

ImagesAgree == \A n \in Node, c \in committed : Comparable(image[n], c)
  (* No image contradicts what is committed.                               *)

ImagesKept == \A n \in Node : IsPrefix(image[n], log[n])
  (* No node has to give up what it has an image of.                       *)

KnownCommitted == \A n \in Node : /\ commit[n] <= Len(log[n])
                                 /\ \E c \in committed : IsPrefix(Known(n), c)
  (* What a node takes for committed is.                                   *)

THEOREM ImagesSpec => [](ImagesAgree /\ ImagesKept /\ KnownCommitted)
=============================================================================
