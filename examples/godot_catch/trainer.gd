# Lets a trainer control the nodes of the group "agents" by the protocol of Godot RL: JSON messages over TCP, each
# preceded by its length in four bytes. Copy it into a Godot 3 project, attach it to a node of the scene, and give each
# agent the seven functions that catch.gd has under "what the trainer asks". Without a trainer the game runs normally.
#
# Command-line options: --port=11008, --action_repeat=8 (physics ticks per action), --speedup=1 (speed relative to real
# time, for watching; with --fixed-fps the game runs as fast as it can).
extends Node

export var action_repeat = 8

var stream = StreamPeerTCP.new()
var connected = false
var ticks = 0

func _ready():
	process_priority = -1 # before the agents of the same tick
	var port = 11008
	for argument in OS.get_cmdline_args():
		var parts = argument.lstrip("-").split("=")
		if parts.size() != 2:
			continue
		match parts[0]:
			"port":
				port = int(parts[1])
			"action_repeat":
				action_repeat = int(parts[1])
			"speedup":
				Engine.time_scale = float(parts[1])
				Engine.iterations_per_second = int(60 * float(parts[1]))
	connected = stream.connect_to_host("127.0.0.1", port) == OK
	while connected and stream.get_status() == StreamPeerTCP.STATUS_CONNECTING:
		OS.delay_msec(10)
	connected = connected and stream.get_status() == StreamPeerTCP.STATUS_CONNECTED
	if connected:
		stream.set_no_delay(true)
		listen() # answer until the first action arrives

func agents():
	return get_tree().get_nodes_in_group("agents")

func _physics_process(_delta):
	if not connected:
		return
	ticks += 1
	if ticks <= action_repeat:
		return
	ticks = 1
	var rewards = []
	var ends = []
	for agent in agents():
		rewards.append(agent.take_reward())
		ends.append(agent.is_done())
	say({"type": "step", "obs": observations(), "reward": rewards, "done": ends})
	listen()

# Answer messages until an action arrives; it takes effect in this tick.
func listen():
	while true:
		var message = hear()
		match message.get("type", "close"):
			"env_info":
				say({"type": "env_info", "n_agents": agents().size(), "separate_resets": true,
					"observation_space": agents()[0].get_observation_space(),
					"action_space": agents()[0].get_action_space()})
			"reset":
				var seeds = message.get("seeds") # one for each agent; null: its episode goes on
				for k in agents().size():
					if seeds == null:
						agents()[k].reset(message.get("seed"))
					elif seeds[k] != null:
						agents()[k].reset(seeds[k])
				say({"type": "reset", "obs": observations()})
			"action":
				for k in agents().size():
					agents()[k].set_action(message["action"][k])
				return
			"close":
				connected = false
				get_tree().quit()
				return

func observations():
	var all = []
	for agent in agents():
		all.append(agent.get_observation())
	return all

# Read a message; an empty one if the trainer has disconnected.
func hear():
	if stream.get_status() != StreamPeerTCP.STATUS_CONNECTED:
		return {}
	var parsed = JSON.parse(stream.get_utf8_string()).result
	return parsed if parsed is Dictionary else {}

func say(message):
	stream.put_utf8_string(to_json(message))
