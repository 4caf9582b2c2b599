%% The conservation law: whatever was accepted is somewhere.
-module(offline_post_law).

-export([violations/1]).

violations(undefined) ->
    [no_stats];
violations(#{accepted := Accepted, delivered := Delivered, pending := Pending, dead := Dead, cancelled := Cancelled,
             purged := Purged, rejected := Rejected, in_flight := InFlight, pending_bytes := Bytes} = Stats) ->
    [Stats || Accepted =/= Delivered + Pending + Dead + Cancelled + Purged]
        ++ [{in_flight, Stats} || InFlight > Pending]
        ++ [{bytes, Stats} || (Pending =:= 0) =/= (Bytes =:= 0)]
        ++ [{negative, Stats} || lists:any(fun(N) -> N < 0 end, [Delivered, Pending, Dead, Cancelled, Purged, Rejected])].
