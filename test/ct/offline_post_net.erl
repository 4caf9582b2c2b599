%% A private network: hosts with addresses of their own, each in a network namespace, joined by a switch. The test's
%% clients and receivers are at the switch, which is a host too. Nothing outside sees it, nothing of it stays.
-module(offline_post_net).

-export([missing/0, start/1, stop/1, switch/1, host/2, address/1, enter/1, netns/1, cut/2, mend/2, part/1, join/1]).

-define(NET, "10.93.0.").
-define(TIMEOUT, 10000).

%% Why none can be made here; "": one can.
missing() ->
    case string:trim(os:cmd("id -u")) of
        "0" ->
            case [Tool || Tool <- ["ip", "unshare", "nsenter"], os:find_executable(Tool) =:= false] of
                [] -> string:trim(os:cmd("unshare --net -- ip link add name try type bridge 2>&1 >/dev/null"));
                [Tool | _] -> Tool ++ " is not installed"
            end;
        _ ->
            "only root can make network namespaces"
    end.

%% With N hosts: host(1, Net) to host(N, Net).
start(N) ->
    Switch = open(?NET "1"),
    ip(Switch, "link add br0 type bridge"),
    ip(Switch, "addr add " ?NET "1/24 dev br0"),
    ip(Switch, "link set br0 up"),
    #{switch => Switch, hosts => [plug(Switch, I) || I <- lists:seq(1, N)]}.

plug(Switch, I) ->
    Host = #{pid := Pid, address := Address} = open(?NET ++ integer_to_list(I + 1)),
    Wire = "wire" ++ integer_to_list(I),
    ip(Switch, ["link add ", Wire, " type veth peer name eth0 netns ", integer_to_list(Pid)]),
    ip(Switch, ["link set ", Wire, " master br0 up"]),
    ip(Host, ["addr add ", Address, "/24 dev eth0"]),
    ip(Host, "link set eth0 up"),
    Host#{wire => Wire}.

stop(#{switch := Switch, hosts := Hosts}) ->
    [close(Place) || Place <- Hosts ++ [Switch]],
    ok.

switch(#{switch := Switch}) -> Switch.

host(I, #{hosts := Hosts}) -> lists:nth(I, Hosts).

address(#{address := Address}) -> Address.

%% What a command begins with that is to run there.
enter(Place) ->
    ["nsenter", "--net=" ++ netns(Place), "--"].

%% For a socket's option of that name.
netns(#{pid := Pid}) ->
    "/proc/" ++ integer_to_list(Pid) ++ "/ns/net".

%% The host's cable is pulled, and plugged in again.
cut(Host, Net) -> wire(Host, Net, "down").
mend(Host, Net) -> wire(Host, Net, "up").

wire(#{wire := Wire}, #{switch := Switch}, How) ->
    ip(Switch, ["link set ", Wire, " ", How]).

%% The hosts do not reach each other any more, but what is at the switch does reach them.
part(Net) -> isolated(Net, "on").
join(Net) -> isolated(Net, "off").

isolated(#{switch := Switch, hosts := Hosts}, How) ->
    [ip(Switch, ["link set ", Wire, " type bridge_slave isolated ", How]) || #{wire := Wire} <- Hosts],
    ok.

ip(Place, Command) ->
    case os:cmd(lists:flatten([lists:join(" ", enter(Place)), " ip ", Command, " 2>&1"])) of
        "" -> ok;
        Said -> ct:fail({ip, lists:flatten(Command), Said})
    end.

open(Address) ->
    Script = filename:join([offline_post_node:root(), "test", "support", "network-host"]),
    Port = offline_post_port:open(Script, [], [{line, 200}]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    receive
        {Port, {data, {eol, <<"ready">>}}} -> #{port => Port, pid => Pid, address => Address}
    after ?TIMEOUT ->
        ct:fail({no_network_namespace, offline_post_port:output(Port)})
    end.

close(#{port := Port, pid := Pid}) ->
    offline_post_port:take(Port),
    true = port_close(Port),
    offline_post_wait:until(fun() -> not filelib:is_dir("/proc/" ++ integer_to_list(Pid)) end, 60000).
