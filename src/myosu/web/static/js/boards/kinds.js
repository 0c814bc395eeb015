// The board for each kind of position that the server sends.

import { BubbleBoard } from './bubble.js';
import { GridBoard } from './grid.js';
import { SnakeBoard } from './snake.js';
import { TextBoard } from './text.js';
import { WoodokuBoard } from './woodoku.js';

export const BOARDS = { bubble: BubbleBoard, grid: GridBoard, snake: SnakeBoard, woodoku: WoodokuBoard, text: TextBoard };
