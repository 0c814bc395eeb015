# A ball falls and bounces off the walls; the paddle at the bottom must catch it. An episode has five balls; the reward
# is 1 for each ball caught and -1 for each missed.
extends Node2D

const BALLS = 5
const PADDLE = 0.12 # half of its width; the field is 1 wide and 1 high
const PADDLE_SPEED = 1.2 # per second
const FALL_SPEED = 0.9
const MAX_DRIFT = 0.6

var random = RandomNumberGenerator.new()
var paddle = 0.5
var ball = Vector2(0.5, 0.0)
var drift = 0.0
var move = 0
var balls = 0
var reward = 0.0
var done = false

# --- what the trainer asks

func get_observation_space():
	return {"obs": {"size": [4], "space": "box"}}

func get_action_space():
	return {"move": {"size": 3, "action_type": "discrete"}}

func get_observation():
	return {"obs": [2 * paddle - 1, 2 * ball.x - 1, 2 * ball.y - 1, drift / MAX_DRIFT]}

func set_action(action):
	move = int(action["move"]) - 1 # left, stay, right

func take_reward():
	var earned = reward
	reward = 0.0
	return earned

func is_done():
	return done

func reset(seed_number):
	if seed_number != null:
		random.seed = int(seed_number)
	paddle = 0.5
	balls = 0
	reward = 0.0
	done = false
	drop()

# --- the game

func drop():
	ball = Vector2(random.randf(), 0.0)
	drift = random.randf_range(-MAX_DRIFT, MAX_DRIFT)

func _physics_process(delta):
	if done:
		return
	paddle = clamp(paddle + move * PADDLE_SPEED * delta, 0.0, 1.0)
	ball += Vector2(drift, FALL_SPEED) * delta
	if ball.x < 0.0 or ball.x > 1.0:
		ball.x = clamp(ball.x, 0.0, 1.0)
		drift = -drift
	if ball.y >= 1.0:
		reward += 1.0 if abs(ball.x - paddle) <= PADDLE else -1.0
		balls += 1
		done = balls == BALLS
		drop()
	update()

func _draw():
	draw_circle(400 * ball, 8, Color.orange)
	draw_rect(Rect2(400 * (paddle - PADDLE), 390, 800 * PADDLE, 10), Color.white)
