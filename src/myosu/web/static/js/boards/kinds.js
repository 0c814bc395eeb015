// The board for each kind of position that the server tells of.

import { GridBoard } from './grid.js';
import { SnakeBoard } from './snake.js';
import { TextBoard } from './text.js';
import { WoodokuBoard } from './woodoku.js';

export const BOARDS = { grid: GridBoard, snake: SnakeBoard, woodoku: WoodokuBoard, text: TextBoard };
