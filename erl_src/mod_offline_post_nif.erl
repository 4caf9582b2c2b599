%% The native library: stubs, types, and finding the file. Nothing else, because a module whose native
%% library is loaded cannot be replaced while the node runs.
-module(mod_offline_post_nif).

-export([status/0, check/2, configure/2, submit/2, submit_sync/2, withdraw/4, pause/1, resume/1, hasten/1, test/2, dead/2,
         remove/2, stop/0, stats/1, observe/1, attach/1, info/0, reconnect/0,
         import_open/1, import_next/0, import_close/0]).
-export_type([key/0, config/0, fields/0, field/0, checked/0, event/0, address/0, filter/0, dead_request/0, letter/0,
              attribute/0, imported/0, observed/0, outcome/0, tested/0, histogram/0]).

-on_load(load/0).
-nifs([check/2, configure/2, submit/2, submit_sync/2, withdraw/4, pause/1, resume/1, hasten/1, test/2, dead/2, remove/2,
       stop/0, stats/1, observe/1, attach/1, info/0, reconnect/0, import_open/1, import_next/0, import_close/0]).

%% The version of the contract between this module and the library. The library refuses any other.
-ifndef(ABI).
-define(ABI, 9).
-endif.

-include_lib("kernel/include/file.hrl").

-type file_identity() :: {Inode :: non_neg_integer(), Mtime :: integer(), Size :: non_neg_integer()} | missing.
-type key() :: {Host :: binary(), Module :: binary()}.
-type address() :: {User :: binary(), Server :: binary(), Resource :: binary()}.
%% Topic: <<>>, or what the event collapses with and is withdrawn by, within its recipient. It is hashed at once and
%% never stored. An event of the kind call_end ends the call with its topic: one that has not left yet is withdrawn, and
%% the event with it; else it follows the call.
-type event() :: {Kind :: binary(), To :: address(), From :: address(), MessageId :: binary(), Body :: binary(),
                  Topic :: binary(), [attribute()]}.
-type attribute() :: {Name :: binary(), Value :: binary()}.
-type config() :: #{post_url := binary(),
                    auth_token := binary(),
                    timeout := pos_integer(),            % ms
                    connect_timeout := pos_integer(),    % ms
                    connection_max_age := pos_integer(), % ms, a second or more
                    max_connections := pos_integer(),
                    queue_limit := pos_integer(),        % events
                    queue_bytes := pos_integer(),        % bytes
                    tls_verify := boolean(),
                    ca_file := binary(),                 % <<>>: the system's
                    client_cert := binary(),             % a file; <<>>: none
                    client_key := binary(),              % <<>>: in client_cert
                    proxy := binary(),                   % a URL; <<>>: none
                    http_version := auto | http1 | http2,
                    spool := boolean(),                  % false: what waits is in memory only
                    spool_dir := binary(),
                    spool_min_free := non_neg_integer(), % bytes
                    retry_schedule := [pos_integer()],   % ms; the last one repeats
                    max_age := pos_integer(),            % ms
                    %% Kinds with a lifetime of their own: never sent later than that.
                    max_ages := [{Kind :: binary(), Ms :: pos_integer()}],
                    order := recipient | none,
                    dead_letter_retention := pos_integer(), % ms
                    dead_letter_limit := non_neg_integer(),
                    collapse_interval := non_neg_integer(), % ms; 0: none
                    rate_sender := non_neg_integer(),       % events per minute; 0: any number
                    rate_recipient := non_neg_integer(),
                    rate_beyond := drop | collapse,
                    form := message | presence,             % what it is about
                    format := form | json | stanza,
                    content_type := binary(),               % <<>>: the format's
                    fields := none | fields(),              % none: the format's
                    room_fields := none | fields(),         % none: fields
                    headers := [{Name :: binary(), Template :: binary()}],
                    auth := body | bearer | basic | header,
                    signing_secrets := [binary()],
                    compress := none | gzip,
                    traceparent := boolean(),
                    batch := none | {MaxEvents :: pos_integer(), MaxDelayMs :: pos_integer(), MaxBytes :: pos_integer(),
                                     array | ndjson}}.
%% In the operator's order. A binary is a template. Nested no deeper than 32.
-type fields() :: [{Name :: binary(), field()}].
-type field() :: binary() | integer() | float() | boolean() | null | {list, [field()]} | {map, fields()}.
%% The options that check/2 knows.
-type checked() :: post_url | fields | headers | signing_secrets | proxy.
%% Which dead letters; <<>> matches any. reason: how it begins.
-type filter() :: #{id := binary(), reason := binary()}.
-type dead_request() :: {list, filter(), After :: non_neg_integer(), Limit :: 1..1000}
                      | {replay, filter()}
                      | {drop, filter()}.
-type letter() :: #{id := binary(),
                    sequence := pos_integer(),
                    kind := binary(),
                    to := address(),
                    from := address(),
                    message_id := binary(),
                    body := binary(),
                    attributes := [attribute()],
                    count := pos_integer(),              % events that it stands for
                    attempts := non_neg_integer(),
                    status := non_neg_integer(),         % HTTP; 0: no final answer came
                    reason := binary(),
                    answer := binary(),                  % its first bytes, whatever they are
                    accepted := integer(),               % Unix time in ms
                    died := integer()}.

%% Bounds: ascending, in microseconds. Counts: one more than bounds, the last of what is above all; not cumulative.
-type histogram() :: {Bounds :: [pos_integer()], Counts :: [non_neg_integer()], SumUs :: non_neg_integer()}.
-type class() :: delivered | refused | gone | misconfigured | trouble.
%% Since the node has started. Times in Unix ms; 0: not known, or there is none.
-type observed() :: #{state := healthy | probing | broken | paused | stopped,
                      since := integer(),                  % in trouble, or out of it
                      why := binary(),                     % one line; <<>> where all is well
                      oldest_pending := integer(),         % when it was accepted
                      concurrency := non_neg_integer(),    % requests that may be in flight now
                      max_connections := non_neg_integer(),
                      queue_limit := pos_integer(),        % events
                      queue_bytes := pos_integer(),
                      attempts := #{class() => non_neg_integer()}, % that ended
                      attempt_us := histogram(),           % of each request
                      delivery_us := histogram(),          % of each event, from acceptance to delivery
                      minutes := [minute()],               % at most 60, the oldest first; without idle ones
                      outcomes := [outcome()]}.            % at most 50, the newest first
%% Minute: Unix time / 60. Failed: attempts of events; latencies of requests.
-type minute() :: {Minute :: integer(), Accepted :: non_neg_integer(), Delivered :: non_neg_integer(),
                   Failed :: non_neg_integer(), Requests :: non_neg_integer(), LatencySumUs :: non_neg_integer(),
                   LatencyMaxUs :: non_neg_integer()}.
-type outcome() :: #{time := integer(), id := binary(), class := class(), status := non_neg_integer(),
                     reason := binary(), attempt := pos_integer(), us := non_neg_integer()}.
%% The request as it was sent, but for what an operator wrote and may be a secret: that says "(hidden)". answer: its
%% first bytes, whatever they are.
-type tested() :: #{request := #{url := binary(), headers := [{Name :: binary(), Value :: binary()}], body := binary()},
                    status := non_neg_integer(), reason := binary(), answer := binary(), us := non_neg_integer()}.

%% What came of an import.
-type imported() :: #{pending := non_neg_integer(),    % taken over
                      dead := non_neg_integer(),       % the same, dead letters
                      withdrawn := non_neg_integer(),  % had been, and were left out
                      before := non_neg_integer(),     % an earlier import had them
                      left := non_neg_integer(),       % still to be taken over
                      trouble := binary(),             % why; <<>>: there was none
                      file := binary()}.               % the file's name now

%% Whether this node can deliver; if not, one line that says what to do.
-spec status() -> ok | {error, binary()}.
status() ->
    case persistent_term:get(?MODULE, undefined) of
        {loaded, Identity, Digest} ->
            unchanged(library(), Identity, Digest);
        {error, _} = Error ->
            Error;
        undefined ->
            {error, <<"the native library is not loaded">>}
    end.

%% What is wrong with one option's value, if anything is: the text says what and where, and repeats no secret.
-spec check(checked(), binary() | fields() | [{binary(), binary()}] | [binary()]) -> ok | {error, binary()}.
check(_Option, _Value) -> erlang:nif_error(not_loaded).

%% A new endpoint, or new settings for one; also for what it has queued. Starts the service thread. spool and
%% spool_dir are one for the node: a value that differs from another endpoint's is an error. Uses: what the requests
%% use of an event: <<"body">>, <<"message_id">>, names of attributes. The rest need not be handed over.
-spec configure(key(), config()) -> {ok, Uses :: [binary()]} | {error, binary()}.
configure(_Key, _Config) -> erlang:nif_error(not_loaded).

%% Hands an event over. Never waits. full: over queue_limit or queue_bytes; limited: over a rate, and dropped; stopped:
%% no such endpoint; no_memory: nothing was taken.
-spec submit(key(), event()) -> {ok, Id :: binary()} | {error, full | limited | stopped | no_memory}.
submit(_Key, _Event) -> erlang:nif_error(not_loaded).

%% The same; when the event is committed, or cannot be for now, {offline_post_committed, Ref, durable | volatile} is
%% sent to the caller. volatile: it is kept in memory until the disk takes it.
-spec submit_sync(key(), event()) -> {ok, Id :: binary(), reference()} | {error, full | limited | stopped | no_memory}.
submit_sync(_Key, _Event) -> erlang:nif_error(not_loaded).

%% What was submitted for this recipient (of this topic) and has not left yet ends: counted cancelled or purged. What is
%% in flight is delivered if it succeeds. purge of all takes the recipient's dead letters with it. Never waits; takes its
%% turn behind what the same process has submitted.
-spec withdraw(key(), {User :: binary(), Server :: binary()}, all | Topic :: binary(), cancel | purge) ->
          ok | {error, unknown}.
withdraw(_Key, _Recipient, _What, _How) -> erlang:nif_error(not_loaded).

%% The operator's pause, which also outlives the node: nothing is sent until resume/1, which ends any pause.
-spec pause(key()) -> ok | {error, unknown}.
pause(_Key) -> erlang:nif_error(not_loaded).

-spec resume(key()) -> ok | {error, unknown}.
resume(_Key) -> erlang:nif_error(not_loaded).

%% What waits for a retry is tried now, and whoever had trouble is probed.
-spec hasten(key()) -> ok | {error, unknown}.
hasten(_Key) -> erlang:nif_error(not_loaded).

%% Sends one POST of this event at once, whatever state the endpoint is in. It is not queued, not counted and not
%% retried. {offline_post_tested, Ref, tested()} is sent to the caller; nothing, should the endpoint go before.
-spec test(key(), event()) -> {ok, reference()} | {error, unknown}.
test(_Key, _Event) -> erlang:nif_error(not_loaded).

%% {offline_post_dead, Ref, Result} is sent to the caller. Result of list: {[letter()], Next}, in order of sequence, with
%% Next to go on with or undefined; of replay and drop: how many.
-spec dead(key(), dead_request()) -> {ok, reference()} | {error, unknown}.
dead(_Key, _Request) -> erlang:nif_error(not_loaded).

%% The file of a spool that another node has left, to be taken over by import_next/0 again and again. One at a time:
%% another ends the first.
-spec import_open(Path :: binary()) -> ok | {error, binary()}.
import_open(_Path) -> erlang:nif_error(not_loaded).

%% {offline_post_imported, Ref, ok} is sent to the caller when a slice is safe here. done: it is over.
-spec import_next() -> {ok, reference()} | {done, imported()}.
import_next() -> erlang:nif_error(not_loaded).

-spec import_close() -> ok.
import_close() -> erlang:nif_error(not_loaded).

%% Accepts nothing from now on, sends what is due for at most TimeoutMs (one deadline for the node), then
%% sends {offline_post_removed, Ref, Pending} to the caller.
-spec remove(key(), TimeoutMs :: pos_integer()) -> {ok, reference()} | {error, unknown}.
remove(_Key, _TimeoutMs) -> erlang:nif_error(not_loaded).

%% Ends the service thread. busy: an endpoint is configured. disk_silent: the spool's disk hangs beyond the deadline of
%% the last remove/2; the spool is closed when the disk answers.
-spec stop() -> ok | {error, busy | disk_silent}.
stop() -> erlang:nif_error(not_loaded).

%% One consistent snapshot of the counters; accepted = delivered + pending + dead + cancelled + purged.
%% limited: over a rate, and dropped, outside of that sum. given_up: became dead since the node's start.
%% recipients_waiting: recipients behind a pending notification that has failed. out_of_order: pending notifications that have
%% left their recipient's order, because the backend keeps failing them. spool: durable;
%% degraded (the disk refuses: in memory for now); memory (spool is false). spool_bytes: its file. disk_silent: seconds
%% for which the spool's disk has not answered; 0: less than 5.
-spec stats(key()) -> #{atom() => integer() | atom()} | undefined.
stats(_Key) -> erlang:nif_error(not_loaded).

%% What was seen of an endpoint beside the counters.
-spec observe(key()) -> observed() | undefined.
observe(_Key) -> erlang:nif_error(not_loaded).

%% The process that is sent {offline_post, [{error | warning | info, Line :: binary()}]}.
-spec attach(pid()) -> ok.
attach(_Owner) -> erlang:nif_error(not_loaded).

%% New requests look their backends' and proxies' names up anew, and make new connections.
-spec reconnect() -> ok.
reconnect() -> erlang:nif_error(not_loaded).

-spec info() -> #{version := binary(), curl := binary(), sqlite := binary(), threads := non_neg_integer(),
                  commit_us := histogram(), % of each transaction of the spool
                  longest_turn_us := non_neg_integer(), % of the service thread, in the last one to two minutes of work
                  running := boolean()}.
info() -> erlang:nif_error(not_loaded).

%% A library that cannot be loaded is no reason for a crash report: status/0 tells it to whom it concerns.
%% Only a second load over a living library is refused, so that the code in use stays.
-spec load() -> ok | {error, atom()}.
load() ->
    Path = library(),
    Identity = identity(Path),
    Digest = digest(Path),
    case erlang:load_nif(filename:rootname(Path), ?ABI) of
        ok ->
            persistent_term:put(?MODULE, {loaded, Identity, Digest});
        {error, {Reason, _}} when Reason =:= upgrade; Reason =:= reload ->
            {error, native_library_in_use};
        {error, _} when Digest =:= <<>> ->
            persistent_term:put(?MODULE, {error, missing(Path)});
        {error, {load, _}} ->
            persistent_term:put(?MODULE, {error, text("the native library ~ts is from another version: build it "
                                                      "anew with make -C c_src, install it and run "
                                                      "ejabberdctl reload_config", [Path])});
        {error, {_, Why}} ->
            persistent_term:put(?MODULE, {error, text("the native library ~ts cannot be loaded: ~ts", [Path, Why])})
    end.

%% Beside the beam that is in use, wherever an installer has put both.
-spec library() -> file:filename().
library() ->
    Ebin = case code:which(?MODULE) of
               Beam when is_list(Beam) -> filename:dirname(filename:absname(Beam));
               _ -> filename:absname("ebin")
           end,
    filename:join([filename:dirname(Ebin), "priv", "mod_offline_post_nif.so"]).

%% The file is read only if it looks like another one: a library may have several megabytes.
-spec unchanged(file:filename(), file_identity(), binary()) -> ok | {error, binary()}.
unchanged(Path, Identity, Digest) ->
    case identity(Path) =:= Identity orelse digest(Path) of
        true -> ok;
        Digest -> ok;
        <<>> -> {error, text("the native library ~ts that this node has loaded is not there any more: if another version was "
                             "installed, restart the node", [Path])};
        _ -> {error, text("the native library ~ts has changed since this node loaded it: restart the node", [Path])}
    end.

-spec identity(file:filename()) -> file_identity().
identity(Path) ->
    case file:read_file_info(Path, [{time, posix}]) of
        {ok, #file_info{inode = Inode, mtime = Time, size = Size}} -> {Inode, Time, Size};
        {error, _} -> missing
    end.

-spec digest(file:filename()) -> binary().
digest(Path) ->
    case file:read_file(Path) of
        {ok, Bytes} -> erlang:md5(Bytes);
        {error, _} -> <<>>
    end.

-spec missing(file:filename()) -> binary().
missing(Path) ->
    text("the native library ~ts is not there: build it with make -C c_src in the module's sources "
         "(~ts tells why a build failed), install it and run ejabberdctl reload_config",
         [Path, filename:join(filename:dirname(Path), "build.log")]).

-spec text(io:format(), [term()]) -> binary().
text(Format, Args) ->
    unicode:characters_to_binary(io_lib:format(Format, Args)).
