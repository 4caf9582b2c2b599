%% What a client does in a room.
-module(offline_post_room).

-export([enter/2, subscribe/3, affiliate/3, configure/2, say/2, query/2]).

-export_type([occupant/0]).

%% A client of offline_post_client, by its name, and the room that it is about.
-type occupant() :: {Clients :: port(), Name :: iodata(), Room :: iodata()}.

%% Returns when the client is in it.
-spec enter(occupant(), iodata()) -> term().
enter({Clients, Name, Room}, Nick) ->
    offline_post_client:send(Clients, Name, ["<presence to='", Room, "/", Nick,
                                             "'><x xmlns='http://jabber.org/protocol/muc'/></presence>"]),
    %% One's own presence comes last of all occupants'; the subject comes last of all.
    offline_post_client:received(Clients, Name, "<subject").

%% Anybody, by the room's owner, to one of its nodes (MUC/Sub), such as "messages".
-spec subscribe(occupant(), Jid :: iodata(), Node :: iodata()) -> term().
subscribe(Owner, Jid, Node) ->
    [User | _] = string:split(Jid, "@"),
    query(Owner, ["<subscribe xmlns='urn:xmpp:mucsub:0' jid='", Jid, "' nick='", User, "'>"
                  "<event node='urn:xmpp:mucsub:nodes:", Node, "'/></subscribe>"]).

-spec affiliate(occupant(), Jid :: iodata(), Affiliation :: iodata()) -> term().
affiliate(Owner, Jid, Affiliation) ->
    query(Owner, ["<query xmlns='http://jabber.org/protocol/muc#admin'><item jid='", Jid, "' affiliation='",
                  Affiliation, "'/></query>"]).

-spec configure(occupant(), [{Field :: iodata(), Value :: iodata()}]) -> term().
configure(Owner, Fields) ->
    query(Owner, ["<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"
                  "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>",
                  [["<field var='", Name, "'><value>", Value, "</value></field>"] || {Name, Value} <- Fields], "</x></query>"]).

%% With the id `m1`.
-spec say(occupant(), Text :: iodata()) -> term().
say({Clients, Name, Room}, Text) ->
    offline_post_client:send(Clients, Name, ["<message type='groupchat' id='m1' to='", Room, "'><body>",
                                             offline_post_client:escape(Text), "</body></message>"]).

%% Returns when it is answered.
-spec query(occupant(), Content :: iodata()) -> term().
query({Clients, Name, Room}, Content) ->
    Id = "q" ++ integer_to_list(erlang:unique_integer([positive])),
    offline_post_client:send(Clients, Name, ["<iq type='set' id='", Id, "' to='", Room, "'>", Content, "</iq>"]),
    offline_post_client:received(Clients, Name, ["id=\"", Id, "\""]).
